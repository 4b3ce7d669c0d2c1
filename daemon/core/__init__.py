"""What decides. No I/O, no clock, no logging: everything here is given its facts and returns values with a `why`."""
