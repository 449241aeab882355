"""`edge bench`: how long a part takes on this box, from its trigger to the controller."""
