"""One file for each peer, run by the interpreter that the peer is installed in: nothing of Stagepost is imported."""
