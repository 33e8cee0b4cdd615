"""INT8 by NNCF: a sample of the user's pictures, the conversion, and the gate that decides whether it is used."""
