;; Has no manifest of its own but one in a module inside it, as the table leaves it out.
(component
  (core module (@custom "sonde:manifest" "name = \"hidden\""))
  (core module $m (func (export "f")))
  (core instance $i (instantiate $m))
  (func $f (canon lift (core func $i "f")))
  (export "describe" (func $f))
  (export "collect" (func $f)))
