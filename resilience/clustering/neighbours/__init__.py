"""The schools most like one in what a school does not choose, and how like they are."""
