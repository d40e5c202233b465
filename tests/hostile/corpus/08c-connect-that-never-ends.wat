;; Connects to what never answers, with no timeout of its own, and traps if that ever ends.
(module
  (import "sonde:sensor/tcp@0.1.0" "connect" (func $connect (param i32 i32 i32)))
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    global.get $heap
    (global.set $heap
      (i32.and (i32.add (i32.add (global.get $heap) (local.get 3)) (i32.const 15)) (i32.const -16))))
  ;; dynamic
  (data (i32.const 16) "\01")
  (func (export "describe") (result i32) (i32.const 16))
  (func (export "collect") (result i32)
    (call $connect (i32.const 1) (i32.const -1) (i32.const 256))
    unreachable)
)
