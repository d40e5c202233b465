//! sonde-guest-build
