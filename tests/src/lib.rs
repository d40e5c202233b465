//! sonde-tests
