"""What changes of prices tell: pure calculation, without a database or a request."""
