//! sonde-host
