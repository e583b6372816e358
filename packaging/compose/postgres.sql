-- A table to rehearse on, with two requests in it.
CREATE TABLE solicitudes (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    numero             varchar(40) NOT NULL UNIQUE,
    servicio           varchar(10) NOT NULL,
    estado             varchar(20) NOT NULL,
    fecha_apertura     timestamp NOT NULL,
    fecha_modificacion timestamp NOT NULL
);
INSERT INTO solicitudes (numero, servicio, estado, fecha_apertura, fecha_modificacion) VALUES
    ('SOL-1', 'LIC', 'RECIBIDA', localtimestamp, localtimestamp),
    ('SOL-2', 'PER', 'REVISION', localtimestamp, localtimestamp);
