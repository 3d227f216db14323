"""What MLflow is given to hold: parameters, what runs say of themselves, what a study came to."""
