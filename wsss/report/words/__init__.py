"""What results are called, and the sentences and the model card that people read of them."""
