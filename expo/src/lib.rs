//! sonde-expo
