"""Every parser of foreign input, fed with what nobody sends: a value, or its one error."""
