;; Scans all the memory it can have, its table and its globals as it finds them, and says how much of it is not
;; as it should be: words beyond its own data that are not zero, and 2^32 for the table or a global. One word it
;; sets itself, to show that it looks.
(module
  (import "sonde:sensor/state@0.1.0" "store" (func $store (param i32 i32) (result i32)))
  (memory (export "memory") 2)
  (table $t 10 funcref)
  (global $g (mut i64) (i64.const 42))
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
  (func (export "collect") (result i32) (local $at i32) (local $end i32) (local $bad i64)
    (drop (memory.grow (i32.const 240)))
    (local.set $end (i32.mul (memory.size) (i32.const 65536)))
    (i64.store (i32.sub (local.get $end) (i32.const 16)) (i64.const 1))
    (local.set $at (i32.const 256))
    (loop $again
      (if (i64.ne (i64.load (local.get $at)) (i64.const 0))
        (then (local.set $bad (i64.add (local.get $bad) (i64.const 1)))))
      (br_if $again (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (local.get $end))))
    (drop (table.grow $t (ref.null func) (i32.const 19000)))
    (local.set $at (i32.const 0))
    (loop $next
      (if (i32.eqz (ref.is_null (table.get $t (local.get $at))))
        (then (local.set $bad (i64.add (local.get $bad) (i64.const 0x100000000)))))
      (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (table.size $t))))
    (if (i64.ne (global.get $g) (i64.const 42)) (then (local.set $bad (i64.add (local.get $bad) (i64.const 0x100000000)))))
    (call $found (local.get $bad))
    (i32.const 64))
)
