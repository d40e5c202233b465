;; Imports a type alone, which the check before compiling leaves to the linker.
(component
  (import "anything" (type (sub resource)))
  (core module $m (func (export "f")))
  (core instance $i (instantiate $m))
  (func $f (canon lift (core func $i "f")))
  (export "describe" (func $f))
  (export "collect" (func $f)))
