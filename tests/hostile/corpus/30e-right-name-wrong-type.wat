;; Imports the clock as a plain function.
(component
  (import "sonde:sensor/clock@0.1.0" (func))
  (core module $m (func (export "f")))
  (core instance $i (instantiate $m))
  (func $f (canon lift (core func $i "f")))
  (export "describe" (func $f))
  (export "collect" (func $f)))
