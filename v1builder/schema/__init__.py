"""Names, units, errors and file handling that every other part shares. Depends on nothing else here."""
