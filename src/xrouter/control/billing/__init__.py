"""Charges, the ledger, prepaid packages, bills. Money: billionths of a ruble, always integers."""
