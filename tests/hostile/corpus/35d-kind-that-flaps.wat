;; Is a counter in one run and a gauge in the next.
(module
  (import "sonde:sensor/state@0.1.0" "load" (func $load (param i32)))
  (import "sonde:sensor/state@0.1.0" "store" (func $store (param i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 512) "f_total")
  (data (i32.const 68) (i32 768 1 1024 1))
  (data (i32.const 768) (i32 512 7 0))
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
  (func (export "collect") (result i32) (local $run i32)
    (call $load (i32.const 256))
    (if (i32.load (i32.const 260))
      (then (local.set $run (i32.load (i32.load (i32.const 256))))))
    (i32.store8 (i32.const 776) (i32.and (local.get $run) (i32.const 1)))
    (call $found (i64.extend_i32_u (i32.add (local.get $run) (i32.const 1))))
    (i32.const 64))
)
