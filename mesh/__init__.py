"""What all processes share: the model, policies, routing, and the forms in which they are written and sent. Decides; does no I/O."""
