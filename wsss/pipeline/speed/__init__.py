"""How much of the bare networks' speed stages keep on this machine, and what limits a study on it."""
