//! Parts that do not know each other, put together over real sockets: tests in `tests/`, and the
//! program `figures`, which measures a cluster.
