"""The words of the project as frozen values: no I/O, no clock, and nothing imported from elsewhere in it."""
