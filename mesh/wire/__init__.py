"""The protocols between the processes as protobuf, and what is made of it; the generated modules lie here too."""
