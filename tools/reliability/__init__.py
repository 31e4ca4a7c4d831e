"""What was tried to break the codec, as JSON in ``docs/reliability``, and the page that is made from it."""
