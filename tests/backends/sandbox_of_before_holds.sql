BEGIN TRANSACTION;
CREATE TABLE invoice (
    our_id TEXT PRIMARY KEY,
    payment_hash TEXT NOT NULL UNIQUE,
    preimage TEXT NOT NULL,
    invoice TEXT NOT NULL,
    amount_msat INTEGER CHECK (amount_msat > 0),
    status TEXT NOT NULL CHECK (status IN ('open', 'settled', 'canceled')),
    received_msat INTEGER CHECK (received_msat > 0),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    settled_at INTEGER,
    settle_index INTEGER UNIQUE,
    CHECK ((status = 'settled') = (settle_index IS NOT NULL)),
    CHECK ((status = 'settled') = (received_msat IS NOT NULL))
) STRICT;
INSERT INTO "invoice" VALUES('invoice 0','66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925','0000000000000000000000000000000000000000000000000000000000000000','lnbcrt10n1p4tzwuqsp5yjjwk8ruuqzuwusf47fdrhwk5t488n6lpa4u28nwkv7phld65n7qpp5ve584t0cv27hwmy0cx9ca8uwyqyfw9y9dm3r8vus9fv36r2l9yjsdq9w3jkzxq97zvuqcqpj9qrsgqtk9agvvp8cptvulvkr9yj0eq2p5teulp7k7pfj49vnwcufetznyrr78gwur92f84tlmjnu92qxk9zrrres9p082ptu7dphpnxkwztcsp2jkycm',1000,'settled',1000,1790000000,1821536000,1790000000,2);
INSERT INTO "invoice" VALUES('invoice 1','72cd6e8422c407fb6d098690f1130b7ded7ec2f7f5e1d30bd9d521f015363793','0101010101010101010101010101010101010101010101010101010101010101','lnbcrt20n1p4tzwuqsp5e2ma7sdxpv8ztjcmc4ekk3fwsrxrfdmfzgn5g5xcfekp7ccjefrqpp5wtxkappzcsrlkmgfs6g0zyct0hkhashh7hsaxz7e65slq9fkx7fsdq9w3jkzxq97zvuqcqpj9qrsgq33e8ygrzj704aqunku97tan5hf2q85c00h3evhwc4n73tqw4m30rutcrlcdvd4687cgv80wrw7qpwjecwans8tcpkzklj7zcg2w5aqcpa4yglp',2000,'open',NULL,1790000000,1821536000,NULL,NULL);
INSERT INTO "invoice" VALUES('invoice 2','75877bb41d393b5fb8455ce60ecd8dda001d06316496b14dfa7f895656eeca4a','0202020202020202020202020202020202020202020202020202020202020202','lnbcrt30n1p4tzwuqsp5rs6n5sfynr04nkg0frwc7szlpu924tkeglt8gppzqexpz85ddhwspp5wkrhhdqa8ya4lwz9tnnqanvdmgqp6p33vjttzn0607y4v4hwef9qdq9w3jkzxq97zvuqcqpj9qrsgqtrpdy52ph4cfgeur4jj978wnpf3gjmf8sg39yqghy4nfqvhjz038e622cw487rkxuw68n7ensy45m6pg3ul6nfu07vakecmnh457vugqs0vkdu',3000,'settled',3000,1790000000,1821536000,1790000000,1);
INSERT INTO "invoice" VALUES('invoice 3','648aa5c579fb30f38af744d97d6ec840c7a91277a499a0d780f3e7314eca090b','0303030303030303030303030303030303030303030303030303030303030303','lnbcrt40n1p4tzwuqsp57aq0mhckgd9exdutv3helnexxucyt6vhtm0dx46w3wc2235tnlxspp5vj92t3telvc08zhhgnvh6mkggrr6jynh5jv6p4uq70nnznk2py9sdq9w3jkzxq97zvuqcqpj9qrsgq9jm8rlfkudc7vlnsgwgrkwnjptcxwkywvp7j38mfkfsa4fftd2rjk82mtpd92fgldvcs7kwx4uyhu2p6f7mvlvwevr5e0hytj796vmcqachpjp',4000,'canceled',NULL,1790000000,1821536000,NULL,NULL);
CREATE TABLE node (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    service_key BLOB NOT NULL CHECK (length(service_key) = 32),
    outside_key BLOB NOT NULL CHECK (length(outside_key) = 32),
    mode TEXT NOT NULL,
    available_msat INTEGER NOT NULL  -- at most all bitcoin
        CHECK (available_msat BETWEEN 0 AND 2100000000000000000)
) STRICT;
INSERT INTO "node" VALUES(1,X'2C2C77C96E80C0A6DECCC944A9E4CDE8B7F03FE7A7D1994C845F3B30F5254EFB',X'575DDDFC9BD7A8936A49AA66D622633836D517EC4415D66E6576B0DA0B25664B','lose-reply',999999991000);
CREATE TABLE outside_invoice (
    payment_hash TEXT PRIMARY KEY,
    preimage TEXT NOT NULL,
    invoice TEXT NOT NULL,
    answer TEXT NOT NULL CHECK (answer IN ('settle', 'hold', 'fail'))
) STRICT;
INSERT INTO "outside_invoice" VALUES('6347dcb52182aaccbc8c0ca4a92d5243bd19f1671195b940197f77bc2c34280e','24ca1d03a3fdf2e5363b2ef7e2edb8ebc6a8d021ed10c552f16d34884ff12801','lnbcrt50n1p4tzwuqsp5cw7kz84tectfmmk9skrgchxqj7annj6azfva4gdyv6ljne7hqr2spp5vdraedfps24ve0yvpjj2jt2jgw73nut8zx2mjsqe0ammctp59q8qdqvwdskuerzdauqxq97zvuqcqpj9qrsgq7u3uaqf2d0awudqq9hhtv5k2s0mgzvhk4acs0xs2cttqkx99qrq3y2t893ry7hvu9ky3mtstvnu4upewyrvnehzmgfreqrjx66gurzgpud2w5m','settle');
INSERT INTO "outside_invoice" VALUES('bc9c514142ed287b904be1cf162887e370a74d811f63d4056de067a425aa9636','a0c4ad2e0807da7f3ef90ce4b0e532477d7e7e8d0b312748c20cb6681ee3f292','lnbcrt60n1p4tzwuqsp5n0x6mlpjgj8a497cyd0ganwv7j3g49nqwjh336d7gmy6m9a5d8hqpp5hjw9zs2za558hyztu883v2y8udc2wnvpra3agptdupn6gfd2jcmqdqvwdskuerzdauqxq97zvuqcqpj9qrsgqnmxax0j64mdf7q2gkynngy5sdgj9n9tymt65qrp043v293pl8vwkm65sgdjvlazaxrl3fu8g5yuuput8cc5l64cdr5r9dg7ltk87p2gqggs6vp','hold');
INSERT INTO "outside_invoice" VALUES('d40b3a0cd330e5a98652c2b44412d7789d1960467b35790a459812a04e2b3951','f48d721e52a14b681b5d865d124d8514bbbbd2a1b4bf9ad4c8dbf2ca39cf3bb7','lnbcrt70n1p4tzwuqsp595zfhuh9qwwsqd7ch37f4xf8f0445za8at494ln5gzwz026yynlspp56s9n5rxnxrj6npjjc26ygykh0zw3jczx0v6hjzj9nqf2qn3t89gsdqvwdskuerzdauqxqrrsscqpj9qrsgqgclucf3aqgwwwsrdacaq7hhxdqfj470p368exthsensnvev2vjy4tdl6u03vecsuln2xwwz3224vv6n38vdaee3duln588wnkahtzjqprxchua','fail');
CREATE TABLE payment (
    payment_id INTEGER PRIMARY KEY AUTOINCREMENT,
    direction TEXT NOT NULL CHECK (direction IN ('incoming', 'outgoing')),
    our_id TEXT,
    payment_hash TEXT NOT NULL,
    amount_msat INTEGER NOT NULL CHECK (amount_msat > 0),
    fee_msat INTEGER NOT NULL CHECK (fee_msat >= 0),
    state TEXT NOT NULL CHECK (state IN ('pending', 'settled', 'failed', 'duplicate')),
    reason TEXT,
    created_at INTEGER NOT NULL,
    resolved_at INTEGER,
    CHECK ((state = 'failed') = (reason IS NOT NULL))
) STRICT;
INSERT INTO "payment" VALUES(1,'incoming',NULL,'75877bb41d393b5fb8455ce60ecd8dda001d06316496b14dfa7f895656eeca4a',3000,0,'settled',NULL,1790000000,1790000000);
INSERT INTO "payment" VALUES(2,'incoming',NULL,'66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925',1000,0,'settled',NULL,1790000000,1790000000);
INSERT INTO "payment" VALUES(3,'outgoing','paid','6347dcb52182aaccbc8c0ca4a92d5243bd19f1671195b940197f77bc2c34280e',5000,1000,'settled',NULL,1790000000,1790000000);
INSERT INTO "payment" VALUES(4,'outgoing','paid','6347dcb52182aaccbc8c0ca4a92d5243bd19f1671195b940197f77bc2c34280e',5000,0,'duplicate',NULL,1790000000,1790000000);
INSERT INTO "payment" VALUES(5,'outgoing','held','bc9c514142ed287b904be1cf162887e370a74d811f63d4056de067a425aa9636',6000,1000,'pending',NULL,1790000000,NULL);
INSERT INTO "payment" VALUES(6,'outgoing','failed','d40b3a0cd330e5a98652c2b44412d7789d1960467b35790a459812a04e2b3951',7000,0,'failed','rejected',1790000000,1790000000);
CREATE INDEX payment_of_hash ON payment (payment_hash);
CREATE UNIQUE INDEX one_live_payment ON payment (payment_hash)
    WHERE direction = 'outgoing' AND state IN ('pending', 'settled');
CREATE VIEW send AS
    SELECT payment.*, CASE state WHEN 'settled' THEN preimage END AS proof
    FROM payment LEFT JOIN outside_invoice USING (payment_hash)
    WHERE direction = 'outgoing';
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('payment',6);
COMMIT;
