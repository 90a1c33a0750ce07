"""The demonstration: five clients, one curious server, real digits."""
