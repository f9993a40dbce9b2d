//! `mtasts serve` on the test Internet: what it answers, what it bears, how it lives.

#[path = "serve/dane.rs"]
mod dane;
#[path = "serve/fleet.rs"]
mod fleet;
#[path = "serve/life.rs"]
mod life;
#[path = "serve/limits.rs"]
mod limits;
#[path = "serve/server.rs"]
mod server;
#[path = "serve/soak.rs"]
mod soak;
#[path = "serve/words.rs"]
mod words;
