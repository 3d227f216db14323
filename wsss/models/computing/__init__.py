"""How networks compute: their convolutions, their numbers on a GPU, and the memory that they take."""
