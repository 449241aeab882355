"""`edge chaos`: a real station in real time while everything around it is broken on purpose."""
