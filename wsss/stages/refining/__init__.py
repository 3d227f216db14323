"""From CAMs to masks: labels of pairs, random walks, the dense CRF."""
