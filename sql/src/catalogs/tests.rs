//! A catalog and a plane for tests of this room.
