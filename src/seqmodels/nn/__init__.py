"""Networks: embedding, recurrent encoder, and output modules (logits, loss, decision)."""
