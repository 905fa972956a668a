//! The layers around a client that answers as it is told, under paused time.
