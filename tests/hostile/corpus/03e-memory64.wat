;; Attached to an honest sensor: a module with a memory of 64-bit addresses.
(component (core module (memory i64 1)))
