//! Fetching policies from policy hosts on real sockets: the `fetch` vectors, and what hosts do besides.

#[path = "https/answers.rs"]
mod answers;
#[path = "https/time.rs"]
mod time;
#[path = "https/vectors.rs"]
mod vectors;
#[path = "https/way.rs"]
mod way;
#[path = "https/world.rs"]
mod world;
