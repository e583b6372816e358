-- A table to rehearse on, with two requests in it.
CREATE TABLE solicitudes (
    id                 bigint AUTO_INCREMENT PRIMARY KEY,
    numero             varchar(40) NOT NULL UNIQUE,
    servicio           varchar(10) NOT NULL,
    estado             varchar(20) NOT NULL,
    fecha_apertura     datetime(6) NOT NULL,
    fecha_modificacion datetime(6) NOT NULL
);
INSERT INTO solicitudes (numero, servicio, estado, fecha_apertura, fecha_modificacion) VALUES
    ('SOL-1', 'LIC', 'RECIBIDA', now(6), now(6)),
    ('SOL-2', 'PER', 'REVISION', now(6), now(6));
