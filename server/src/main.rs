//! The process: the binary `marigraph`.

mod wire;

fn main() {}
