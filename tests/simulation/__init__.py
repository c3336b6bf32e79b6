"""The real service in a world that a seed decides: every run can be had again, exactly."""
