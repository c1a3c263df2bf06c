//! Nothing but tests, in `tests/`: of parts that do not know each other, put together over real
//! sockets.
