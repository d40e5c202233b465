//! sonde-collect
