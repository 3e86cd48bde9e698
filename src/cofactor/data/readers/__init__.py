"""How a source becomes columns: opened by its format, read fast, proved whole, refused row by row where it is not."""
