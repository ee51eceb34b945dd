//! The parts by tables with a clock and threads of their own, and the pool by what users' code may
//! do to it.

mod bytes;
mod config;
mod depot;
mod hooks;
mod pool;
mod stock;
