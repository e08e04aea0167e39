"""The files of people: photos and videos read and written back whole."""
