"""What clusters are: profiles, names, results afterwards, municipalities, settlements."""
