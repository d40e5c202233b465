;; Asks for the time again and again, and says the smallest step it saw, in the clock's own milliseconds; -1
;; where time ran backwards.
(module
  (import "sonde:sensor/clock@0.1.0" "elapsed" (func $elapsed (result i64)))
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
  (func (export "collect") (result i32) (local $least i64) (local $last i64) (local $at i64) (local $step i64) (local $steps i32)
    (local.set $least (i64.const 1_000_000))
    (local.set $last (call $elapsed))
    (loop $again
      (local.set $at (call $elapsed))
      (if (i64.ne (local.get $at) (local.get $last))
        (then
          (local.set $steps (i32.add (local.get $steps) (i32.const 1)))
          (local.set $step (i64.sub (local.get $at) (local.get $last)))
          (if (i64.lt_s (local.get $step) (i64.const 0)) (then (call $found (i64.const -1)) (return (i32.const 64))))
          (if (i64.lt_s (local.get $step) (local.get $least)) (then (local.set $least (local.get $step))))
          (local.set $last (local.get $at))))
      (br_if $again (i32.lt_u (local.get $steps) (i32.const 4))))
    (call $found (local.get $least))
    (i32.const 64))
)
