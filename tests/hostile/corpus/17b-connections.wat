;; Opens connections until it is refused, keeps them all, and says how many it had.
(module
  (import "sonde:sensor/tcp@0.1.0" "connect" (func $connect (param i32 i32 i32)))
  (import "sonde:sensor/state@0.1.0" "store" (func $store (param i32 i32) (result i32)))
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    global.get $heap
    (global.set $heap
      (i32.and (i32.add (i32.add (global.get $heap) (local.get 3)) (i32.const 15)) (i32.const -16))))
  ;; What it saw, left as its state.
  (func $found (param i64)
    (i64.store (i32.const 128) (local.get 0))
    (drop (call $store (i32.const 128) (i32.const 8))))
  ;; dynamic
  (data (i32.const 16) "\01")
  (func (export "describe") (result i32) (i32.const 16))
  (func (export "collect") (result i32) (local $had i64)
    (loop $again
      (call $connect (i32.const 1) (i32.const 1000) (i32.const 256))
      (if (i32.eqz (i32.load8_u (i32.const 256)))
        (then (local.set $had (i64.add (local.get $had) (i64.const 1))) (br $again))))
    (call $found (local.get $had))
    (i32.const 64))
)
