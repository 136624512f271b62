"""Families of crafted shifts: strong operations on images, tables and text, tagged by what they do.

A copy of a split in which every example went through one operation of a family stands for a shift that the
source itself does not have; `copies.copy` makes it, `table.FAMILIES` lists the families.
N. Efthymiadis, G. Tolias, O. Chum, "Crafting Distribution Shifts for Validation and Training in Single
Source Domain Generalization", WACV 2025.
"""
