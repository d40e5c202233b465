;; Imports a later version of a capability, of which nobody knows what it may do.
(component
  (import "sonde:sensor/tcp@0.2.0" (instance))
  (core module $m (func (export "f")))
  (core instance $i (instantiate $m))
  (func $f (canon lift (core func $i "f")))
  (export "describe" (func $f))
  (export "collect" (func $f)))
