"""How near a reconstruction comes to the image it is of, and how near one comes that knows nothing."""
